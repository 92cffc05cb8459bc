// Two watched subscriptions, with a role that somebody made before.
using '../../infra/main.bicep'

param environmentName = 'prod'
param location = 'westeurope'
param allowedSubscriptions = '00000000-0000-0000-0000-0000000000a1, 00000000-0000-0000-0000-0000000000A2'
param allowedWorkspaces = '00000000-0000-0000-0000-0000000000f1,00000000-0000-0000-0000-0000000000f2'
param customRoleId = '/subscriptions/00000000-0000-0000-0000-0000000000a1/providers/Microsoft.Authorization/roleDefinitions/00000000-0000-0000-0000-00000000c001'
