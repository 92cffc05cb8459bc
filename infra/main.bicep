// Everything that the app needs in Azure, but for what needs the code first: see events.bicep. `azd up` deploys this, then
// the code, then events.bicep (the postdeploy hook in azure.yaml).
targetScope = 'subscription'

import { list, optionNames, pairs, resourceName } from 'settings.bicep'

@minLength(1)
@maxLength(24)
@description('Name of the environment. It is part of every name here, and tags every resource.')
param environmentName string

@minLength(1)
@description('Azure region of the app. The servers that it mirrors may be anywhere.')
param location string

@maxLength(30)
@description('What names of resources have instead of the environment\'s name. Empty: made from the environment\'s name.')
param nameOverride string = ''

@description('Ids of the subscriptions whose flexible servers may be mirrored, separated by commas. Empty: the one deployed to.')
param allowedSubscriptions string = ''

@description('Ids of Fabric workspaces that mirrors may be put into besides the default one, separated by commas.')
param allowedWorkspaces string = ''

@description('Id of the workspace of servers that name none; it is allowed too. Empty: they have to name one.')
param defaultWorkspace string = ''

@description('Further app settings by the names in docs/operations.md, such as "RESTART_POLICY=window; HISTORY_DAYS=90".')
param options string = ''

@description('Further tags of every resource, such as "costCenter=42; owner=data platform".')
param resourceTags string = ''

@description('Id of a custom role with the actions of infra/role.json that somebody made before. Empty: it is made.')
param customRoleId string = ''

@description('Recover the Key Vault that an environment of the same name left behind. The preprovision hook finds out.')
param recoverVault bool = false

@description('Where orchestrations are kept: in the storage account, or in a Durable Task Scheduler (for thousands of servers).')
@allowed(['AzureStorage', 'DurableTaskScheduler'])
param durableBackend string = 'AzureStorage'

@description('Redundancy of the storage account: across zones, or locally in regions that have none.')
@allowed(['Standard_LRS', 'Standard_ZRS'])
param storageRedundancy string = 'Standard_ZRS'

@description('Put the app into a virtual network of its own, and storage and Key Vault behind private endpoints.')
param privateNetwork bool = false

@description('Address space of that network. Peer it with the networks of private servers.')
param addressSpace string = '10.42.0.0/24'

@description('Client id of an app registration. Given: callers of the HTTP API need a token for it, beside the function key.')
param authClientId string = ''

@description('Client ids of the applications that may call then, separated by commas. Empty: every application of the tenant.')
param authAllowedApplications string = ''

@description('Object ids of the users, groups and service principals that may call then, separated by commas. Empty: everybody of the tenant.')
param authAllowedPrincipals string = ''

@description('Whom alerts are sent to. Empty: they are shown in the portal only.')
param alertEmail string = ''

@minValue(1)
@maxValue(1000)
@description('Most instances of the app.')
param maximumInstanceCount int = 40

@description('Memory of an instance (MB).')
@allowed([512, 2048, 4096])
param instanceMemoryMB int = 2048

// Unique in Azure, for each subscription, environment and region.
var token = toLower(uniqueString(subscription().id, environmentName, location))

// Environments whose names differ only in letter case, or in characters that names of resources may not have, get
// different names here.
var clean = resourceName(environmentName)
var name = !empty(nameOverride)
  ? nameOverride
  : clean == environmentName ? clean : '${empty(clean) ? 'env' : clean}-${take(token, 5)}'
var tags = union(pairs(resourceTags), { 'azd-env-name': environmentName })

var subscriptions = empty(list(allowedSubscriptions))
  ? [subscription().subscriptionId]
  : union(list(toLower(allowedSubscriptions)), [])
var workspaces = union(list(toLower(defaultWorkspace)), list(toLower(allowedWorkspaces)))
var chosen = pairs(options)
var unknownOptions = filter(objectKeys(chosen), option => !contains(optionNames, option))
var notGuids = filter(concat(subscriptions, workspaces), id => length(id) != 36)

// What can't be is refused before anything is made.
var refusal = empty(workspaces)
  ? 'No Fabric workspace is allowed: azd env set FABRIC_WORKSPACE_ID with the id of the default workspace, or FABRIC_WORKSPACE_IDS.'
  : !empty(notGuids)
      ? 'Not the id of a subscription or workspace: ${join(notGuids, ', ')}. An id has 36 characters; several are separated by commas.'
      : !empty(unknownOptions)
          ? 'APP_OPTIONS names settings that the app does not know: ${join(unknownOptions, ', ')}. docs/operations.md lists them.'
          : empty(authClientId) && !empty(concat(list(authAllowedApplications), list(authAllowedPrincipals)))
              ? 'AUTH_ALLOWED_APPLICATIONS and AUTH_ALLOWED_PRINCIPALS need AUTH_CLIENT_ID: without it nobody is asked for a token.'
              : ''
var accepted = empty(refusal) ? true : fail(refusal)

resource group 'Microsoft.Resources/resourceGroups@2024-03-01' = if (accepted) {
  name: 'rg-${name}'
  location: location
  tags: tags
}

module resources 'modules/resources.bicep' = {
  name: 'resources'
  scope: group
  params: {
    name: name
    token: token
    location: location
    tags: tags
    allowedSubscriptions: subscriptions
    allowedWorkspaces: workspaces
    defaultWorkspace: trim(defaultWorkspace)
    options: chosen
    recoverVault: recoverVault
    durableBackend: durableBackend
    storageRedundancy: storageRedundancy
    privateNetwork: privateNetwork
    addressSpace: addressSpace
    authClientId: authClientId
    authAllowedApplications: list(authAllowedApplications)
    authAllowedPrincipals: list(authAllowedPrincipals)
    alertEmail: alertEmail
    maximumInstanceCount: maximumInstanceCount
    instanceMemoryMB: instanceMemoryMB
  }
}

module role 'modules/role.bicep' = if (empty(customRoleId)) {
  name: 'role-${token}'
  params: {
    name: name
    token: token
    subscriptions: subscriptions
  }
}

module rights 'modules/subscription_role.bicep' = [
  for id in subscriptions: {
    name: 'rights-${token}'
    scope: subscription(id)
    params: {
      roleId: empty(customRoleId) ? role!.outputs.id : last(split(customRoleId, '/'))
      principalId: resources.outputs.principalId
    }
  }
]

output AZURE_LOCATION string = location
output AZURE_TENANT_ID string = tenant().tenantId
output AZURE_RESOURCE_GROUP string = group.name
output AZURE_FUNCTION_APP_NAME string = resources.outputs.appName
output SERVICE_APP_NAME string = resources.outputs.appName
output APP_URL string = resources.outputs.appUrl

// What infra/subscribe.sh hands to events.bicep.
output APP_ID string = resources.outputs.appId
output DEAD_LETTERS_ID string = resources.outputs.deadLettersId
output INSIGHTS_ID string = resources.outputs.insightsId
output ACTION_GROUP_ID string = resources.outputs.actionGroupId
output DEPLOYED_NAME string = name
output DEPLOYED_TAGS object = tags

// What infra/check_rights.py looks at.
output IDENTITY_NAME string = resources.outputs.identityName
output IDENTITY_OBJECT_ID string = resources.outputs.principalId
output ALLOWED_SUBSCRIPTIONS string = join(subscriptions, ',')
output ALLOWED_WORKSPACES string = join(workspaces, ',')
output STORAGE_ID string = resources.outputs.storageId
output KEY_VAULT_ID string = resources.outputs.vaultId
output NOTICE_TOPIC_ID string = resources.outputs.noticeTopicId
output SCHEDULER_ID string = resources.outputs.schedulerId
