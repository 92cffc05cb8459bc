// Orchestrations in a Durable Task Scheduler.
using '../../infra/main.bicep'

param environmentName = 'prod'
param location = 'westeurope'
param defaultWorkspace = '00000000-0000-0000-0000-0000000000f1'
param durableBackend = 'DurableTaskScheduler'
