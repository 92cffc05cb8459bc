// Everything that the app needs in Azure, but for the event subscriptions: they name a function, so it has to be there
// first. `azd up` deploys this, then the code, then events.bicep (the postdeploy hook in azure.yaml).
targetScope = 'subscription'

import { Guid, Options } from 'settings.bicep'

@minLength(1)
@maxLength(24)
@description('Name of the environment. It is part of every name here, and tags every resource.')
param environmentName string

@minLength(1)
@description('Azure region of the app. The servers that it mirrors may be anywhere.')
param location string

@minLength(1)
@description('Ids of the subscriptions whose flexible servers may be mirrored.')
param allowedSubscriptions Guid[] = [subscription().subscriptionId]

@minLength(1)
@description('Ids of the Fabric workspaces that mirrors may be put into.')
param allowedWorkspaces Guid[]

@description('Id of the workspace of servers that name none. Empty: they have to name one.')
param defaultWorkspace string = ''

@description('Further app settings, by the names in docs/operations.md. What is left out has its default.')
param options Options = {}

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

@description('Whom alerts are sent to. Empty: they are shown in the portal only.')
param alertEmail string = ''

@minValue(1)
@maxValue(1000)
@description('Most instances of the app.')
param maximumInstanceCount int = 40

@description('Memory of an instance (MB).')
@allowed([512, 2048, 4096])
param instanceMemoryMB int = 2048

@description('System topics that watched subscriptions have already, as {"subscription id": "resource group/name"}: there can be only one each.')
param existingTopics object = {}

// Names of azd's environments may have characters that names of resources may not.
var name = replace(replace(replace(replace(environmentName, '_', '-'), '.', '-'), '(', '-'), ')', '-')
var tags = { 'azd-env-name': environmentName }
var token = toLower(uniqueString(subscription().id, environmentName, location))

resource group 'Microsoft.Resources/resourceGroups@2024-03-01' = {
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
    allowedSubscriptions: allowedSubscriptions
    allowedWorkspaces: allowedWorkspaces
    defaultWorkspace: defaultWorkspace
    options: options
    durableBackend: durableBackend
    storageRedundancy: storageRedundancy
    privateNetwork: privateNetwork
    addressSpace: addressSpace
    authClientId: authClientId
    alertEmail: alertEmail
    maximumInstanceCount: maximumInstanceCount
    instanceMemoryMB: instanceMemoryMB
  }
}

module role 'modules/role.bicep' = {
  name: 'role-${token}'
  params: {
    name: name
    subscriptions: allowedSubscriptions
  }
}

module watch 'modules/watch.bicep' = [
  for id in allowedSubscriptions: {
    name: 'watch-${token}'
    scope: subscription(id)
    params: {
      name: name
      location: location
      tags: tags
      roleId: role.outputs.id
      principalId: resources.outputs.principalId
      existingTopic: existingTopics[?id] ?? ''
      actionGroupId: resources.outputs.actionGroupId
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
output SYSTEM_TOPICS array = [for (id, i) in allowedSubscriptions: watch[i].outputs.topic]

// What infra/check_rights.py looks at.
output IDENTITY_NAME string = resources.outputs.identityName
output IDENTITY_OBJECT_ID string = resources.outputs.principalId
output ALLOWED_SUBSCRIPTIONS string = join(allowedSubscriptions, ',')
output ALLOWED_WORKSPACES string = join(allowedWorkspaces, ',')
output STORAGE_ID string = resources.outputs.storageId
output KEY_VAULT_ID string = resources.outputs.vaultId
output NOTICE_TOPIC_ID string = resources.outputs.noticeTopicId
output SCHEDULER_ID string = resources.outputs.schedulerId
