// The app settings that have a default in shared/platform/settings.py, and the timers' schedules; docs/operations.md says
// what each is for. Tests compare this list with the code. And how values are written as one text: azd's variables know
// no lists and no objects.

@export()
@description('The app settings that may be chosen.')
var optionNames = [
  'HEALTH_SCHEDULE'
  'RESYNC_SCHEDULE'
  'PRUNE_SCHEDULE'
  'TAG_PREFIX'
  'FABRIC_ROLE'
  'FABRIC_CREDENTIALS'
  'FABRIC_PRINCIPAL_CLIENT_ID'
  'FABRIC_PRINCIPAL_OBJECT_ID'
  'FABRIC_PRINCIPAL_SECRET'
  'TABLE_RIGHTS'
  'RESTART_POLICY'
  'RESTART_GRACE_HOURS'
  'RESTART_DECISION_HOURS'
  'SERVER_WAIT_MINUTES'
  'ALLOW_REPLICAS'
  'OPERATION_LIMIT_MINUTES'
  'MIRROR_START_LIMIT_MINUTES'
  'POLL_SECONDS'
  'FABRIC_CALLS_PER_MINUTE'
  'FABRIC_WINDOW_SECONDS'
  'FABRIC_GATEWAY'
  'CONNECTION_GROUP'
  'RETENTION_DAYS'
  'MIRROR_NAME'
  'TABLE_LIMIT'
  'RELEASE_MIRROR'
  'HISTORY_DAYS'
  'SWEEP_MINUTES'
  'DETAILS_MINUTES'
  'HEALTH_CONFIRMATIONS'
  'HEALTH_GRACE_MINUTES'
  'LATENCY_WARN_MINUTES'
  'LAG_WARN_MIB'
  'WAL_WARN_GIB'
  'WAL_CRITICAL_GIB'
  'WAL_WARN_PERCENT'
  'WAL_CRITICAL_PERCENT'
]

@export()
@description('The parts of a text that are separated by commas, without blanks around them.')
func list(text string) string[] => filter(map(split(text, ','), part => trim(part)), part => !empty(part))

@export()
@description('The pairs of a text such as "RESTART_POLICY=window; HISTORY_DAYS=90". A value may hold commas and equal signs.')
func pairs(text string) object =>
  toObject(
    filter(map(split(text, ';'), part => trim(part)), part => !empty(part)),
    pair => trim(split(pair, '=')[0]),
    pair => trim(join(skip(split(pair, '='), 1), '='))
  )

@export()
@description('The characters of an environment\'s name that names of resources may have, in lower case, with a letter or digit at both ends.')
func resourceName(environmentName string) string =>
  replace(
    trim(replace(
      replace(replace(replace(replace(toLower(environmentName), '_', ' '), '.', ' '), '(', ' '), ')', ' '),
      '-',
      ' '
    )),
    ' ',
    '-'
  )
