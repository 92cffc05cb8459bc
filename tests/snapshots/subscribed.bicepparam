// What follows the code: two watched subscriptions, of which one has a system topic already.
using '../../infra/events.bicep'

param name = 'prod'
param location = 'westeurope'
param tags = { 'azd-env-name': 'prod' }
param appId = '/subscriptions/00000000-0000-0000-0000-0000000000a1/resourceGroups/rg-prod/providers/Microsoft.Web/sites/func-prod-x'
param deadLettersId = '/subscriptions/00000000-0000-0000-0000-0000000000a1/resourceGroups/rg-prod/providers/Microsoft.Storage/storageAccounts/stdlx'
param insightsId = '/subscriptions/00000000-0000-0000-0000-0000000000a1/resourceGroups/rg-prod/providers/Microsoft.Insights/components/appi-prod'
param actionGroupId = '/subscriptions/00000000-0000-0000-0000-0000000000a1/resourceGroups/rg-prod/providers/Microsoft.Insights/actionGroups/ag-prod'
param systemTopics = '/subscriptions/00000000-0000-0000-0000-0000000000a1/resourceGroups/rg-central/providers/Microsoft.EventGrid/systemTopics/evgst-central,/subscriptions/00000000-0000-0000-0000-0000000000a2/resourceGroups/rg-fabric-mirror-topic/providers/Microsoft.EventGrid/systemTopics/evgst-fabric-mirror'
param newTopics = '/subscriptions/00000000-0000-0000-0000-0000000000a2/resourceGroups/rg-fabric-mirror-topic/providers/Microsoft.EventGrid/systemTopics/evgst-fabric-mirror'
param deployedAt = '2026-01-01T00:00:00Z'
