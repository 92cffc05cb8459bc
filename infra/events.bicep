// What needs the app's code first: the event subscriptions, since Event Grid asks for the function when one is made, and
// the alerts, which would tell before the first deployment of code that nothing works. infra/subscribe.sh deploys it.
targetScope = 'subscription'

import { list } from 'settings.bicep'

@description('The name that names of resources have, as main.bicep says it (DEPLOYED_NAME).')
param name string

@description('Azure region of the app.')
param location string

@description('Tags of the alerts.')
param tags object

@description('Resource id of the function app.')
param appId string

@description('Resource id of the storage account of the dead letters.')
param deadLettersId string

@description('Resource id of the Application Insights component that the alerts ask.')
param insightsId string

@description('Resource id of the action group that the alerts tell.')
param actionGroupId string

@description('Resource ids of the system topics of the watched subscriptions, separated by commas.')
param systemTopics string

@description('Those of them that are not there yet. A subscription has at most one, so the one that is there is used.')
param newTopics string = ''

@description('When this is deployed. The alert on sweeps that don\'t end waits for the first ones.')
param deployedAt string = utcNow('yyyy-MM-ddTHH:mm:ssZ')

module topics 'modules/system_topic.bicep' = [
  for id in list(newTopics): {
    name: 'topic-${uniqueString(id)}'
    scope: resourceGroup(split(id, '/')[2], split(id, '/')[4])
    params: { name: last(split(id, '/')) }
  }
]

module subscriptions 'modules/event_subscription.bicep' = [
  for id in list(systemTopics): {
    name: 'server-changed-${uniqueString(id, appId)}'
    scope: resourceGroup(split(id, '/')[2], split(id, '/')[4])
    params: {
      topicName: last(split(id, '/'))
      tags: tags
      appId: appId
      deadLettersId: deadLettersId
      actionGroupId: actionGroupId
    }
    dependsOn: [topics]
  }
]

module alerts 'modules/alerts.bicep' = {
  name: 'alerts-${uniqueString(appId)}'
  scope: resourceGroup(split(insightsId, '/')[4])
  params: {
    name: name
    location: location
    tags: tags
    insightsId: insightsId
    actionGroupId: actionGroupId
    deployedAt: deployedAt
  }
}
