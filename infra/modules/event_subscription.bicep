// One event subscription. What it lets through is what shared/desired/events.py reads (tests compare the two).
param topicName string
param appId string
param deadLettersId string

var filter = loadJsonContent('../event_filter.json')

resource topic 'Microsoft.EventGrid/systemTopics@2025-02-15' existing = {
  name: topicName
}

resource eventSubscription 'Microsoft.EventGrid/systemTopics/eventSubscriptions@2025-02-15' = {
  parent: topic
  name: last(split(appId, '/'))
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
