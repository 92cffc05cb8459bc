# What the hooks have in common; they read it with `.`.
TOPIC_GROUP=rg-fabric-mirror-topic
TOPIC=evgst-fabric-mirror

# need NAME…: the variables that have to be set.
need() {
  for name in "$@"; do
    eval "value=\${$name:-}"
    if [ -z "$value" ]; then
      echo "$name is not set: run this through azd (azd hooks run $HOOK), after azd provision." >&2
      exit 1
    fi
  done
}

# The Azure CLI is there, and somebody is signed in to it: azd's own sign-in does not count for it.
signed_in() {
  if ! command -v az > /dev/null; then
    echo "The Azure CLI is needed and not found: https://aka.ms/installazurecli" >&2
    exit 1
  fi
  if ! az account show --only-show-errors --output none 2> /dev/null; then
    echo "You are not signed in to the Azure CLI: run az login (azd auth login does not count for it)." >&2
    exit 1
  fi
}

# topic_of SUBSCRIPTION: the id of the subscription's system topic, of which there is at most one; nothing where none is.
topic_of() {
  listed=$(az eventgrid system-topic list --only-show-errors --subscription "$1" --query "[].[topicType,id]" --output tsv)
  echo "$listed" | awk 'tolower($1) == "microsoft.resources.subscriptions" { print $2; exit }'
}

subscriptions() {
  echo "$ALLOWED_SUBSCRIPTIONS" | tr ',' ' '
}
