// The app in a virtual network, what it keeps behind private endpoints, and a token asked for.
using '../../infra/main.bicep'

param environmentName = 'prod'
param location = 'westeurope'
param defaultWorkspace = '00000000-0000-0000-0000-0000000000f1'
param privateNetwork = true
