#!/bin/sh
# Takes the environment's event subscriptions, and their alerts, from the system topics of the watched subscriptions: these
# are not the environment's own, and stay. azd runs it before it takes the environment down.
set -eu
cd "$(dirname "$0")"
HOOK=predown
. ./azure.sh

if [ -z "${APP_ID:-}" ]; then
  exit 0 # nothing was deployed
fi
need ALLOWED_SUBSCRIPTIONS
signed_in
app=${APP_ID##*/}
for id in $(subscriptions); do
  topic=$(topic_of "$id")
  if [ -z "$topic" ]; then
    continue
  fi
  group=$(echo "$topic" | cut -d/ -f5)
  az eventgrid system-topic event-subscription delete --only-show-errors --yes --name "$app" \
    --system-topic-name "${topic##*/}" --resource-group "$group" --subscription "$id"
  az monitor metrics alert delete --only-show-errors --name "dead-letters-$app" --resource-group "$group" --subscription "$id"
done
echo "No event reaches the app any more. The system topics are still there, for other environments."
