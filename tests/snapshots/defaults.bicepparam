// What azd deploys where nothing is chosen but what has to be.
using '../../infra/main.bicep'

param environmentName = 'prod'
param location = 'westeurope'
param defaultWorkspace = '00000000-0000-0000-0000-0000000000f1'
