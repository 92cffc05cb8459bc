// Alerts on what the app logs. Those on dead letters stand with the event subscriptions.
param name string
param location string
param tags object
param insightsId string
param actionGroupId string
param deployedAt string

var rules = [
  {
    name: 'sweep-failing'
    query: replace(loadTextContent('../queries/sweep_failing.kql'), '2000-01-01T00:00:00Z', deployedAt)
    description: 'The health of the mirrors is not being recorded. docs/operations.md: Alerts.'
    severity: 1
    window: 'PT30M'
  }
  {
    name: 'mirror-unhealthy'
    query: loadTextContent('../queries/mirror_unhealthy.kql')
    description: 'A mirror became Unhealthy. docs/operations.md: Health.'
    severity: 2
    window: 'PT15M'
  }
  {
    name: 'wal-retained'
    query: loadTextContent('../queries/wal_retained.kql')
    description: 'A mirror\'s slot retains much WAL: left alone, it fills the server\'s disk. docs/operations.md: WalRetained.'
    severity: 1
    window: 'PT15M'
  }
  {
    name: 'preparation-blocked'
    query: loadTextContent('../queries/preparation_blocked.kql')
    description: 'A server needs a person: it can\'t be prepared, or waits for a restart decision. docs/operations.md: Blocked.'
    severity: 3
    window: 'PT15M'
  }
  {
    name: 'steps-failing'
    query: loadTextContent('../queries/steps_failing.kql')
    description: 'Steps of the app fail unexpectedly. docs/operations.md: InternalError.'
    severity: 2
    window: 'PT30M'
  }
]

resource alerts 'Microsoft.Insights/scheduledQueryRules@2023-12-01' = [
  for rule in rules: {
    name: '${rule.name}-${name}'
    location: location
    tags: tags
    kind: 'LogAlert'
    properties: {
      displayName: rule.name
      description: rule.description
      severity: rule.severity
      enabled: true
      scopes: [insightsId]
      evaluationFrequency: 'PT15M'
      windowSize: rule.window
      criteria: {
        allOf: [
          {
            query: rule.query
            timeAggregation: 'Count'
            operator: 'GreaterThan'
            threshold: 0
            failingPeriods: { numberOfEvaluationPeriods: 1, minFailingPeriodsToAlert: 1 }
          }
        ]
      }
      autoMitigate: true
      actions: { actionGroups: [actionGroupId] }
    }
  }
]
