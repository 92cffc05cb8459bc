#!/bin/sh
# Subscribes the function server_changed to the events of the watched subscriptions, and makes the alerts. azd runs it after
# each deployment, with the outputs of main.bicep in the environment; running it again changes nothing.
set -eu
cd "$(dirname "$0")"
HOOK=postdeploy
. ./azure.sh

need AZURE_ENV_NAME AZURE_SUBSCRIPTION_ID AZURE_LOCATION ALLOWED_SUBSCRIPTIONS APP_ID DEAD_LETTERS_ID INSIGHTS_ID \
  ACTION_GROUP_ID DEPLOYED_NAME DEPLOYED_TAGS
signed_in

# A subscription has at most one system topic: where somebody made one, that is used. Ours lies in a group of its own, so
# that the end of one environment is not the end of another's events.
topics='' new=''
for id in $(subscriptions); do
  state=$(az provider show --only-show-errors --namespace Microsoft.EventGrid --subscription "$id" --query registrationState --output tsv)
  if [ "$state" != Registered ]; then
    az provider register --only-show-errors --namespace Microsoft.EventGrid --subscription "$id" --wait
  fi
  topic=$(topic_of "$id")
  if [ -z "$topic" ]; then
    if [ "$(az group exists --name "$TOPIC_GROUP" --subscription "$id")" != true ]; then
      az group create --only-show-errors --output none --name "$TOPIC_GROUP" --location "$AZURE_LOCATION" --subscription "$id"
    fi
    topic=/subscriptions/$id/resourceGroups/$TOPIC_GROUP/providers/Microsoft.EventGrid/systemTopics/$TOPIC
    new=$new${new:+,}$topic
  fi
  topics=$topics${topics:+,}$topic
done

# A deployment keeps its location: its name says the environment and the region. A new function takes a moment until Event
# Grid can find it.
attempt=1
until az deployment sub create --only-show-errors --output none \
  --name "server-changed-$AZURE_ENV_NAME-$AZURE_LOCATION" --subscription "$AZURE_SUBSCRIPTION_ID" --location "$AZURE_LOCATION" \
  --template-file events.bicep \
  --parameters name="$DEPLOYED_NAME" location="$AZURE_LOCATION" tags="$DEPLOYED_TAGS" appId="$APP_ID" \
  deadLettersId="$DEAD_LETTERS_ID" insightsId="$INSIGHTS_ID" actionGroupId="$ACTION_GROUP_ID" \
  systemTopics="$topics" newTopics="$new"; do
  if [ "$attempt" -ge 5 ]; then
    echo "The event subscriptions were not created; the error is above. Servers are still found by the hourly resync." >&2
    exit 1
  fi
  attempt=$((attempt + 1))
  echo "Trying again in ${RETRY_SECONDS:-30} s …" >&2
  sleep "${RETRY_SECONDS:-30}"
done
echo "Events of the watched subscriptions now reach the app."
