// The app and everything of its own, in one resource group.
param name string
param token string
param location string
param tags object
param allowedSubscriptions string[]
param allowedWorkspaces string[]
param defaultWorkspace string
param options object
param recoverVault bool
param durableBackend string
param storageRedundancy string
param privateNetwork bool
param addressSpace string
param authClientId string
param authAllowedApplications string[]
param authAllowedPrincipals string[]
param alertEmail string
param maximumInstanceCount int
param instanceMemoryMB int

// The app is a PostgreSQL role of this name on every server that it prepares.
resource identity 'Microsoft.ManagedIdentity/userAssignedIdentities@2024-11-30' = {
  name: 'id-${name}'
  location: location
  tags: tags
}

module monitoring 'monitoring.bicep' = {
  name: 'monitoring'
  params: {
    name: name
    location: location
    tags: tags
    principalId: identity.properties.principalId
    alertEmail: alertEmail
  }
}

module storage 'storage.bicep' = {
  name: 'storage'
  params: {
    name: 'st${token}'
    location: location
    tags: tags
    principalId: identity.properties.principalId
    privateNetwork: privateNetwork
    redundancy: storageRedundancy
  }
}

module deadLetters 'dead_letters.bicep' = {
  name: 'dead-letters'
  params: {
    name: 'stdl${token}'
    location: location
    tags: tags
  }
}

module vault 'vault.bicep' = {
  name: 'vault'
  params: {
    name: 'kv-${token}'
    location: location
    tags: tags
    principalId: identity.properties.principalId
    privateNetwork: privateNetwork
    workspaceId: monitoring.outputs.workspaceId
    recover: recoverVault
  }
}

module notices 'notices.bicep' = {
  name: 'notices'
  params: {
    name: 'evgt-${name}-${token}'
    location: location
    tags: tags
    principalId: identity.properties.principalId
  }
}

module scheduler 'durable_task_scheduler.bicep' = if (durableBackend == 'DurableTaskScheduler') {
  name: 'durable-task-scheduler'
  params: {
    name: 'dts-${token}'
    location: location
    tags: tags
    principalId: identity.properties.principalId
  }
}

module network 'network.bicep' = if (privateNetwork) {
  name: 'network'
  params: {
    name: name
    location: location
    tags: tags
    addressSpace: addressSpace
    storageId: storage.outputs.id
    vaultId: vault.outputs.id
  }
}

module app 'app.bicep' = {
  name: 'app'
  params: {
    name: 'func-${name}-${token}'
    location: location
    tags: tags
    identityId: identity.id
    identityName: identity.name
    identityClientId: identity.properties.clientId
    identityObjectId: identity.properties.principalId
    storageName: storage.outputs.name
    packageContainer: storage.outputs.packageContainer
    vaultUrl: vault.outputs.url
    noticeTopicEndpoint: notices.outputs.endpoint
    insightsConnection: monitoring.outputs.connection
    schedulerConnection: durableBackend == 'DurableTaskScheduler'
      ? 'Endpoint=${scheduler!.outputs.endpoint};Authentication=ManagedIdentity;ClientID=${identity.properties.clientId}'
      : ''
    subnetId: privateNetwork ? network!.outputs.appSubnetId : ''
    authClientId: authClientId
    authAllowedApplications: authAllowedApplications
    authAllowedPrincipals: authAllowedPrincipals
    allowedSubscriptions: allowedSubscriptions
    allowedWorkspaces: allowedWorkspaces
    defaultWorkspace: defaultWorkspace
    options: options
    maximumInstanceCount: maximumInstanceCount
    instanceMemoryMB: instanceMemoryMB
  }
}

module workbook 'workbook.bicep' = {
  name: 'workbook'
  params: {
    name: name
    location: location
    tags: tags
    insightsId: monitoring.outputs.insightsId
  }
}

output appName string = app.outputs.name
output appUrl string = app.outputs.url
output appId string = app.outputs.id
output identityName string = identity.name
output principalId string = identity.properties.principalId
output storageId string = storage.outputs.id
output deadLettersId string = deadLetters.outputs.id
output vaultId string = vault.outputs.id
output noticeTopicId string = notices.outputs.id
output schedulerId string = durableBackend == 'DurableTaskScheduler' ? scheduler!.outputs.id : ''
output insightsId string = monitoring.outputs.insightsId
output actionGroupId string = monitoring.outputs.actionGroupId
