// The system topic of a subscription, and the alert when one of its events could not be delivered.
param name string
param tags object
param exists bool
param actionGroupId string

resource topic 'Microsoft.EventGrid/systemTopics@2025-02-15' = if (!exists) {
  name: name
  location: 'global'
  tags: tags
  properties: {
    source: subscription().id
    topicType: 'Microsoft.Resources.Subscriptions'
  }
}

var topicId = resourceId('Microsoft.EventGrid/systemTopics', name)

resource alert 'Microsoft.Insights/metricAlerts@2018-03-01' = {
  name: 'dead-letters-${name}'
  location: 'global'
  tags: tags
  properties: {
    description: 'Event Grid gave up on delivering an event to the app. docs/operations.md: Dead letters.'
    severity: 2
    enabled: true
    scopes: [topicId]
    evaluationFrequency: 'PT5M'
    windowSize: 'PT15M'
    criteria: {
      'odata.type': 'Microsoft.Azure.Monitor.SingleResourceMultipleMetricCriteria'
      allOf: [
        {
          criterionType: 'StaticThresholdCriterion'
          name: 'dead-letters'
          metricNamespace: 'Microsoft.EventGrid/systemTopics'
          metricName: 'DeadLetteredCount'
          operator: 'GreaterThan'
          threshold: 0
          timeAggregation: 'Total'
        }
      ]
    }
    actions: [{ actionGroupId: actionGroupId }]
  }
  dependsOn: [topic]
}

output id string = topicId
