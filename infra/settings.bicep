// The app settings that have a default in shared/platform/settings.py, and the timers' schedules. Values are text, as
// all app settings are; docs/operations.md says what each is for. Tests compare this list with the code.

@export()
@minLength(36)
@maxLength(36)
@description('The id of a subscription or workspace.')
type Guid = string

@export()
@sealed()
@description('App settings by name; each may be left out.')
type Options = {
  HEALTH_SCHEDULE: string?
  RESYNC_SCHEDULE: string?
  PRUNE_SCHEDULE: string?
  TAG_PREFIX: string?
  FABRIC_ROLE: string?
  FABRIC_CREDENTIALS: string?
  FABRIC_PRINCIPAL_CLIENT_ID: string?
  FABRIC_PRINCIPAL_OBJECT_ID: string?
  FABRIC_PRINCIPAL_SECRET: string?
  RESTART_POLICY: string?
  RESTART_GRACE_HOURS: string?
  RESTART_DECISION_HOURS: string?
  SERVER_WAIT_MINUTES: string?
  ALLOW_REPLICAS: string?
  OPERATION_LIMIT_MINUTES: string?
  MIRROR_START_LIMIT_MINUTES: string?
  POLL_SECONDS: string?
  FABRIC_CALLS_PER_MINUTE: string?
  FABRIC_WINDOW_SECONDS: string?
  FABRIC_GATEWAY: string?
  CONNECTION_GROUP: string?
  RETENTION_DAYS: string?
  MIRROR_NAME: string?
  RELEASE_MIRROR: string?
  HISTORY_DAYS: string?
  SWEEP_MINUTES: string?
  DETAILS_MINUTES: string?
  HEALTH_CONFIRMATIONS: string?
  HEALTH_GRACE_MINUTES: string?
  LATENCY_WARN_MINUTES: string?
  LAG_WARN_MIB: string?
  WAL_WARN_GIB: string?
  WAL_CRITICAL_GIB: string?
  WAL_WARN_PERCENT: string?
  WAL_CRITICAL_PERCENT: string?
}
