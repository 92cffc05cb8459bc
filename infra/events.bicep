// The event subscriptions: each watched subscription's system topic delivers to the function server_changed.
// Deployed after the code, since Event Grid asks for the function when a subscription to it is made.
targetScope = 'subscription'

@description('Resource id of the function app.')
param appId string

@description('Resource id of the storage account of the dead letters.')
param deadLettersId string

@description('Resource ids of the system topics, one for each watched subscription.')
param systemTopics string[]

module subscriptions 'modules/event_subscription.bicep' = [
  for id in systemTopics: {
    name: 'server-changed-${uniqueString(id)}'
    scope: resourceGroup(split(id, '/')[2], split(id, '/')[4])
    params: {
      topicName: last(split(id, '/'))
      appId: appId
      deadLettersId: deadLettersId
    }
  }
]
