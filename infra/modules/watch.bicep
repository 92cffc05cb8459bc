// One watched subscription: what the app may do there, and the topic that tells of its resources.
targetScope = 'subscription'

param name string
param location string
param tags object
param roleId string
param principalId string
param existingTopic string
param actionGroupId string

resource assignment 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(subscription().id, principalId, roleId)
  properties: {
    principalId: principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roleId)
  }
}

// A system topic lies in the subscription that it tells of; this is the app's own group where that is the same one.
resource group 'Microsoft.Resources/resourceGroups@2024-03-01' = if (empty(existingTopic)) {
  name: 'rg-${name}'
  location: location
  tags: tags
}

var groupName = empty(existingTopic) ? 'rg-${name}' : split(existingTopic, '/')[0]
var topicName = empty(existingTopic) ? 'evgst-${name}' : split(existingTopic, '/')[1]

module topic 'system_topic.bicep' = {
  name: 'system-topic-${name}'
  scope: resourceGroup(groupName)
  params: {
    name: topicName
    tags: tags
    exists: !empty(existingTopic)
    actionGroupId: actionGroupId
  }
  dependsOn: [group]
}

output topic string = topic.outputs.id
