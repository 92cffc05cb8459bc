// One event subscription, and the alert when one of its topic's events could not be delivered. What it lets through is what
// shared/desired/events.py reads (tests compare the two).
param topicName string
param tags object
param appId string
param deadLettersId string
param actionGroupId string

var appName = last(split(appId, '/'))
var filter = loadJsonContent('../event_filter.json')

resource topic 'Microsoft.EventGrid/systemTopics@2025-02-15' existing = {
  name: topicName
}

resource eventSubscription 'Microsoft.EventGrid/systemTopics/eventSubscriptions@2025-02-15' = {
  parent: topic
  name: appName
  properties: {
    eventDeliverySchema: 'EventGridSchema'
    destination: {
      endpointType: 'AzureFunction'
      properties: {
        resourceId: '${appId}/functions/server_changed'
        maxEventsPerBatch: 1
      }
    }
    filter: {
      includedEventTypes: filter.includedEventTypes
      advancedFilters: filter.advancedFilters
      enableAdvancedFilteringOnArrays: false
    }
    retryPolicy: {
      maxDeliveryAttempts: 30
      eventTimeToLiveInMinutes: 1440
    }
    deadLetterDestination: {
      endpointType: 'StorageBlob'
      properties: {
        resourceId: deadLettersId
        blobContainerName: 'dead-letters'
      }
    }
  }
}

// An alert on a metric lies in the subscription of what it looks at.
resource alert 'Microsoft.Insights/metricAlerts@2018-03-01' = {
  name: 'dead-letters-${appName}'
  location: 'global'
  tags: tags
  properties: {
    description: 'Event Grid gave up on delivering an event to the app. docs/operations.md: Dead letters.'
    severity: 2
    enabled: true
    scopes: [topic.id]
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
}
