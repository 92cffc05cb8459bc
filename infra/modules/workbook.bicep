// A workbook beside the app's own dashboard: how the app itself is doing.
param name string
param location string
param tags object
param insightsId string

var panels = [
  { title: 'What the app had to tell', chart: 'table', query: loadTextContent('../queries/notices.kql') }
  { title: 'Health sweep: failures', chart: 'table', query: loadTextContent('../queries/sweep_failing.kql') }
  { title: 'Steps that failed unexpectedly', chart: 'table', query: loadTextContent('../queries/steps_failing.kql') }
  { title: 'Functions', chart: 'table', query: loadTextContent('../queries/runs.kql') }
]

var items = [
  for panel in panels: {
    type: 3
    name: panel.title
    content: {
      version: 'KqlItem/1.0'
      title: panel.title
      query: panel.query
      visualization: panel.chart
      size: 0
      queryType: 0
      resourceType: 'microsoft.insights/components'
      timeContext: { durationMs: 86400000 }
    }
  }
]

resource workbook 'Microsoft.Insights/workbooks@2023-06-01' = {
  name: guid(resourceGroup().id, name, 'mirroring')
  location: location
  tags: tags
  kind: 'shared'
  properties: {
    category: 'workbook'
    displayName: 'Fabric mirroring (${name})'
    sourceId: insightsId
    serializedData: string({ version: 'Notebook/1.0', items: items, fallbackResourceIds: [insightsId] })
  }
}
