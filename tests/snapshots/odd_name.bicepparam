// A name of which Azure takes less than azd does.
using '../../infra/main.bicep'

param environmentName = 'dev(1)'
param location = 'westeurope'
param defaultWorkspace = '00000000-0000-0000-0000-0000000000f1'
