#!/bin/sh
# Subscribes the function server_changed to the events of the watched subscriptions. azd runs it after each deployment,
# with the outputs of main.bicep in the environment; running it again changes nothing.
set -eu
cd "$(dirname "$0")"

for name in AZURE_SUBSCRIPTION_ID AZURE_LOCATION APP_ID DEAD_LETTERS_ID SYSTEM_TOPICS; do
  eval "value=\${$name:-}"
  if [ -z "$value" ]; then
    echo "$name is not set: run this through azd (azd hooks run postdeploy), after azd provision." >&2
    exit 1
  fi
done

# A new function takes a moment until Event Grid can find it.
attempt=1
until az deployment sub create --only-show-errors --output none \
  --name server-changed --subscription "$AZURE_SUBSCRIPTION_ID" --location "$AZURE_LOCATION" \
  --template-file events.bicep \
  --parameters appId="$APP_ID" deadLettersId="$DEAD_LETTERS_ID" systemTopics="$SYSTEM_TOPICS"; do
  if [ "$attempt" -ge 5 ]; then
    echo "The event subscriptions were not created; the error is above. Servers are still found by the hourly resync." >&2
    exit 1
  fi
  attempt=$((attempt + 1))
  echo "Trying again in ${RETRY_SECONDS:-30} s …" >&2
  sleep "${RETRY_SECONDS:-30}"
done
echo "Events of the watched subscriptions now reach the app."
