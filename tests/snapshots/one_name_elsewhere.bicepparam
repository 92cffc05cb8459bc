// An environment of the same name in another subscription.
using '../../infra/main.bicep'

param environmentName = 'prod'
param location = 'westeurope'
param defaultWorkspace = '00000000-0000-0000-0000-0000000000f1'
