// Another environment of the same subscription.
using '../../infra/main.bicep'

param environmentName = 'test'
param location = 'westeurope'
param defaultWorkspace = '00000000-0000-0000-0000-0000000000f1'
