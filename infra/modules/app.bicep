// The function app on a Flex Consumption plan, its settings, and who may call it.
param name string
param location string
param tags object
param identityId string
param identityName string
param identityClientId string
param identityObjectId string
param storageName string
param packageContainer string
param vaultUrl string
param noticeTopicEndpoint string
param insightsConnection string
@description('Connection string of the Durable Task Scheduler; empty: orchestrations are kept in the storage account.')
param schedulerConnection string
@description('Subnet of the app; empty: it is in no virtual network.')
param subnetId string
param authClientId string
param authAllowedApplications string[]
param authAllowedPrincipals string[]
param allowedSubscriptions string[]
param allowedWorkspaces string[]
param defaultWorkspace string
param options object
param maximumInstanceCount int
param instanceMemoryMB int

resource storage 'Microsoft.Storage/storageAccounts@2024-01-01' existing = {
  name: storageName
}

resource plan 'Microsoft.Web/serverfarms@2024-04-01' = {
  name: 'plan-${name}'
  location: location
  tags: tags
  kind: 'functionapp'
  sku: { name: 'FC1', tier: 'FlexConsumption' }
  properties: { reserved: true }
}

// What the Functions host itself wants to know.
var hostSettings = {
  AzureWebJobsStorage__blobServiceUri: storage.properties.primaryEndpoints.blob
  AzureWebJobsStorage__queueServiceUri: storage.properties.primaryEndpoints.queue
  AzureWebJobsStorage__tableServiceUri: storage.properties.primaryEndpoints.table
  AzureWebJobsStorage__credential: 'managedidentity'
  AzureWebJobsStorage__clientId: identityClientId
  APPLICATIONINSIGHTS_CONNECTION_STRING: insightsConnection
  APPLICATIONINSIGHTS_AUTHENTICATION_STRING: 'ClientId=${identityClientId};Authorization=AAD'
  APPLICATIONINSIGHTS_STATSBEAT_DISABLED_ALL: 'true' // else the exporter tells Microsoft about itself
}

// host.json says Azure Storage; its values can be replaced by settings of this form.
var schedulerSettings = empty(schedulerConnection)
  ? {}
  : {
      AzureFunctionsJobHost__extensions__durableTask__storageProvider__type: 'azureManaged'
      AzureFunctionsJobHost__extensions__durableTask__storageProvider__connectionStringName: 'DURABLE_TASK_SCHEDULER_CONNECTION_STRING'
      DURABLE_TASK_SCHEDULER_CONNECTION_STRING: schedulerConnection
    }

// When the timers fire: second, minute, hour, day, month, weekday, in UTC.
var schedules = {
  HEALTH_SCHEDULE: options.?HEALTH_SCHEDULE ?? '0 */5 * * * *'
  RESYNC_SCHEDULE: options.?RESYNC_SCHEDULE ?? '0 0 * * * *'
  PRUNE_SCHEDULE: options.?PRUNE_SCHEDULE ?? '0 30 3 * * *'
}

// What the app has to be told; the rest of shared/platform/settings.py has defaults, and comes from `options`.
var appSettings = {
  AZURE_CLOUD: environment().name
  AZURE_TENANT_ID: tenant().tenantId
  AZURE_CLIENT_ID: identityClientId
  IDENTITY_NAME: identityName
  IDENTITY_OBJECT_ID: identityObjectId
  STORAGE_TABLE_ENDPOINT: storage.properties.primaryEndpoints.table
  KEY_VAULT_URL: vaultUrl
  NOTICE_TOPIC_ENDPOINT: noticeTopicEndpoint
  ALLOWED_SUBSCRIPTIONS: join(allowedSubscriptions, ',')
  ALLOWED_WORKSPACES: join(allowedWorkspaces, ',')
  DEFAULT_WORKSPACE: defaultWorkspace
}

resource app 'Microsoft.Web/sites@2024-04-01' = {
  name: name
  location: location
  tags: union(tags, { 'azd-service-name': 'app' })
  kind: 'functionapp,linux'
  identity: {
    type: 'UserAssigned'
    userAssignedIdentities: { '${identityId}': {} }
  }
  properties: {
    serverFarmId: plan.id
    httpsOnly: true
    virtualNetworkSubnetId: empty(subnetId) ? null : subnetId
    siteConfig: { minTlsVersion: '1.2' } // newer regions refuse most others, such as ftpsState (51021): there is no FTP
    functionAppConfig: {
      deployment: {
        storage: {
          type: 'blobContainer'
          value: packageContainer
          authentication: {
            type: 'UserAssignedIdentity'
            userAssignedIdentityResourceId: identityId
          }
        }
      }
      runtime: { name: 'python', version: '3.13' }
      scaleAndConcurrency: {
        maximumInstanceCount: maximumInstanceCount
        instanceMemoryMB: instanceMemoryMB
      }
    }
  }

  resource settings 'config' = {
    name: 'appsettings'
    properties: union(options, schedules, appSettings, hostSettings, schedulerSettings)
  }

  // No publishing by user name and password. One child of a site is written after another: two at once are a conflict.
  resource scm 'basicPublishingCredentialsPolicies' = {
    name: 'scm'
    properties: { allow: false }
    dependsOn: [settings]
  }

  // Easy Auth. Event Grid and the health probe have no token for it; the webhook asks for a key of its own.
  resource auth 'config' = if (!empty(authClientId)) {
    name: 'authsettingsV2'
    properties: {
      platform: { enabled: true }
      globalValidation: {
        requireAuthentication: true
        unauthenticatedClientAction: 'Return401'
        excludedPaths: ['/api/live', '/runtime/webhooks/eventgrid']
      }
      identityProviders: {
        azureActiveDirectory: {
          enabled: true
          registration: {
            clientId: authClientId
            openIdIssuer: '${environment().authentication.loginEndpoint}${tenant().tenantId}/v2.0'
          }
          validation: {
            allowedAudiences: [authClientId, 'api://${authClientId}']
            defaultAuthorizationPolicy: {
              allowedApplications: empty(authAllowedApplications) ? null : authAllowedApplications
              allowedPrincipals: empty(authAllowedPrincipals) ? null : { identities: authAllowedPrincipals }
            }
          }
        }
      }
      httpSettings: { requireHttps: true }
      login: { tokenStore: { enabled: false } }
    }
    dependsOn: [scm]
  }
}

output id string = app.id
output name string = app.name
output url string = 'https://${app.properties.defaultHostName}'
