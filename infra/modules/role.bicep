// The custom role: the management actions that the app uses on flexible servers, for all watched subscriptions.
targetScope = 'subscription'

param name string
@description('The names of custom roles are unique in the tenant.')
param token string
param subscriptions string[]

var role = loadJsonContent('../role.json')

resource definition 'Microsoft.Authorization/roleDefinitions@2022-04-01' = {
  name: guid(subscription().id, name, 'flexible-server-mirroring')
  properties: {
    roleName: 'Flexible server mirroring (${name}-${token})'
    description: role.description
    type: 'CustomRole'
    permissions: [{ actions: role.actions }]
    assignableScopes: [for id in subscriptions: '/subscriptions/${id}']
  }
}

output id string = definition.name
