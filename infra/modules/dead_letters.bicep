// Where Event Grid leaves events that it could not deliver. An account of its own, and the only one with shared keys:
// the system topic of a subscription is global, a global one can't have an identity ("Enable managed identity for an
// Event Grid system topic"), and without one Event Grid writes with the account's key. Nothing else is kept here.
param name string
param location string
param tags object

resource account 'Microsoft.Storage/storageAccounts@2024-01-01' = {
  name: name
  location: location
  tags: tags
  kind: 'StorageV2'
  sku: { name: 'Standard_LRS' }
  properties: {
    allowSharedKeyAccess: true
    allowBlobPublicAccess: false
    defaultToOAuthAuthentication: true
    minimumTlsVersion: 'TLS1_2'
    supportsHttpsTrafficOnly: true
  }

  resource blobs 'blobServices' = {
    name: 'default'

    resource container 'containers' = {
      name: 'dead-letters'
      properties: { publicAccess: 'None' }
    }
  }

  resource forgetting 'managementPolicies' = {
    name: 'default'
    properties: {
      policy: {
        rules: [
          {
            name: 'forget-after-90-days'
            type: 'Lifecycle'
            definition: {
              filters: { blobTypes: ['blockBlob'], prefixMatch: ['dead-letters/'] }
              actions: { baseBlob: { delete: { daysAfterModificationGreaterThan: 90 } } }
            }
          }
        ]
      }
    }
  }
}

output id string = account.id
