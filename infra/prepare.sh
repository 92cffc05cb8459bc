#!/bin/sh
# Before anything is deployed: is somebody signed in to the Azure CLI, and is the name of the Key Vault held by a vault that
# was deleted? Such a vault is recovered: purge protection keeps its name for 90 days. azd runs this before it provisions.
set -eu
cd "$(dirname "$0")"
HOOK=preprovision
. ./azure.sh

signed_in
if [ -z "${AZURE_SUBSCRIPTION_ID:-}" ] || [ -z "${AZURE_LOCATION:-}" ]; then
  exit 0 # azd has not asked for them yet: the environment is new
fi
need AZURE_ENV_NAME
deleted=$(az keyvault list-deleted --only-show-errors --subscription "$AZURE_SUBSCRIPTION_ID" --resource-type vault --output tsv \
  --query "[?properties.tags.\"azd-env-name\"=='$AZURE_ENV_NAME' && properties.location=='$AZURE_LOCATION'].name")
if [ -n "$deleted" ]; then
  echo "The Key Vault $deleted of an environment of this name was deleted: it is recovered, with the passwords in it."
  azd env set RECOVER_VAULT true
else
  azd env set RECOVER_VAULT false
fi
