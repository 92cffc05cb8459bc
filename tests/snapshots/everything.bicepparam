// Everything chosen that can be chosen together.
using '../../infra/main.bicep'

param environmentName = 'a_long-name.of_24(chars)'
param location = 'westeurope'
param allowedSubscriptions = '00000000-0000-0000-0000-0000000000a1,00000000-0000-0000-0000-0000000000a2'
param allowedWorkspaces = '00000000-0000-0000-0000-0000000000f1,00000000-0000-0000-0000-0000000000f2'
param defaultWorkspace = '00000000-0000-0000-0000-0000000000f1'
param options = 'RESTART_POLICY=window; HEALTH_SCHEDULE=0 0,30 * * * *; MIRROR_NAME={server}={database}'
param resourceTags = 'costCenter=42; owner=data platform'
param recoverVault = true
param durableBackend = 'DurableTaskScheduler'
param storageRedundancy = 'Standard_LRS'
param privateNetwork = true
param addressSpace = '10.7.0.0/24'
param authClientId = '00000000-0000-0000-0000-0000000000c1'
param authAllowedApplications = '00000000-0000-0000-0000-0000000000c2,00000000-0000-0000-0000-0000000000c3'
param authAllowedPrincipals = '00000000-0000-0000-0000-0000000000d1'
param alertEmail = 'operators@example.com'
param maximumInstanceCount = 100
param instanceMemoryMB = 4096
