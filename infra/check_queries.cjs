// Holds Kusto queries to Kusto's own language service: node infra/check_queries.cjs FILE…
//
// Azure checks the query of an alert rule when the rule is made, and refuses the deployment where it is wrong. Columns
// are those that Azure documents ("Migrate an Application Insights classic resource to a workspace-based resource",
// table changes) for queries of the component: `success` is a string there, and a bool only in the workspace's tables.
// Exit status 0: every query is right; 1: a line for each mistake.
"use strict"
const fs = require("node:fs")

require("@kusto/language-service-next/bridge.min.js")
require("@kusto/language-service-next/Kusto.Language.Bridge.min.js")
const { GlobalState, KustoCode, Symbols } = globalThis.Kusto.Language

const COMMON = `timestamp: datetime, itemId: string, itemType: string, customDimensions: dynamic, operation_Id: string,
  operation_Name: string, operation_ParentId: string, operation_SyntheticSource: string, session_Id: string,
  user_AccountId: string, user_AuthenticatedId: string, user_Id: string, application_Version: string,
  client_Browser: string, client_City: string, client_CountryOrRegion: string, client_IP: string, client_Model: string,
  client_OS: string, client_StateOrProvince: string, client_Type: string, cloud_RoleInstance: string,
  cloud_RoleName: string, appId: string, appName: string, iKey: string, sdkVersion: string`
const CALL = `id: string, name: string, success: string, resultCode: string, duration: real, performanceBucket: string,
  itemCount: int, customMeasurements: dynamic`
const TABLES = {
  requests: `${CALL}, source: string, url: string`,
  dependencies: `${CALL}, data: string, target: string, type: string`,
  traces: "message: string, severityLevel: int, itemCount: int, customMeasurements: dynamic",
  exceptions: `assembly: string, details: dynamic, handledAt: string, innermostAssembly: string,
    innermostMessage: string, innermostMethod: string, innermostType: string, message: string, method: string,
    outerAssembly: string, outerMessage: string, outerMethod: string, outerType: string, problemId: string,
    severityLevel: int, type: string, itemCount: int, customMeasurements: dynamic`,
  customMetrics: `name: string, value: real, valueCount: int, valueMax: real, valueMin: real, valueSum: real`,
}

function schema() {
  const tables = Object.entries(TABLES).map(
    ([name, columns]) => new Symbols.TableSymbol.$ctor7(name, `(${COMMON}, ${columns})`, null),
  )
  return GlobalState.Default.WithDatabase(new Symbols.DatabaseSymbol.$ctor3("insights", null, tables, false))
}

function mistakes(file, globals) {
  const text = fs.readFileSync(file, "utf8")
  const found = KustoCode.ParseAndAnalyze(text, globals).GetDiagnostics()
  return Array.from({ length: found.Count }, (_, i) => found.getItem(i))
    .filter(one => one.Severity === "Error" || one.Severity === "Warning")
    .map(one => {
      const before = text.slice(0, one.Start).split("\n")
      return `${file}:${before.length}:${before.at(-1).length + 1}: ${one.Message} (${one.Code})`
    })
}

const globals = schema()
const lines = process.argv.slice(2).flatMap(file => mistakes(file, globals))
lines.forEach(line => console.log(line))
process.exitCode = lines.length ? 1 : 0
