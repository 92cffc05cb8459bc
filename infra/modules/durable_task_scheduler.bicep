// The Durable Task Scheduler, for those who have more servers than Azure Storage carries well.
param name string
param location string
param tags object
param principalId string

resource scheduler 'Microsoft.DurableTask/schedulers@2025-11-01' = {
  name: name
  location: location
  tags: tags
  properties: {
    sku: { name: 'Consumption' }
    ipAllowlist: ['0.0.0.0/0'] // an empty list refuses everybody; callers need a token and a role all the same
  }

  resource hub 'taskHubs' = {
    name: 'FabricMirror'
  }
}

// Durable Task Data Contributor
var dataContributor = '0ad04412-c4d5-4796-b79c-f76d14c8d402'

resource assignment 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(scheduler.id, principalId, dataContributor)
  scope: scheduler
  properties: {
    principalId: principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', dataContributor)
  }
}

output id string = scheduler.id
output endpoint string = scheduler.properties.endpoint
