// The system topic of a subscription. It belongs to no environment: a subscription has at most one, every environment that
// watches the subscription uses it, and the end of one environment leaves it there.
param name string

resource topic 'Microsoft.EventGrid/systemTopics@2025-02-15' = {
  name: name
  location: 'global'
  properties: {
    source: subscription().id
    topicType: 'Microsoft.Resources.Subscriptions'
  }
}
