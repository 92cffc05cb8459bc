// Azure takes the names of this one and of the defaults for the same.
using '../../infra/main.bicep'

param environmentName = 'Prod'
param location = 'westeurope'
param defaultWorkspace = '00000000-0000-0000-0000-0000000000f1'
