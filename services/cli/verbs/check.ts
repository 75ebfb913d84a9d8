/**
 * `qmq check`: everything that can be known before a start: conf-qmq, the state directory, ports, names of next hops, the
 * key's permissions, room on the disk. One line each: ok, warn or fail; exit code 1 where anything fails, 2 where
 * it is conf-qmq.
 */

import { checkCluster, confFinding } from '../cluster-check.ts'
import { textTable } from '../text-table.ts'
import type { Context, ExitCode, Verb } from '../verb.ts'

export const checkVerb: Verb = { name: 'check', summary: 'check conf-qmq and this machine before a start', run: check }

async function check(context: Context): Promise<ExitCode> {
  const findings = await checkCluster(context)
  const ok = findings.every((finding) => finding.verdict !== 'fail')
  if (context.output === 'json') context.print(JSON.stringify({ ok, findings }))
  else
    context.print(
      textTable(
        ['', 'WHAT', ''],
        findings.map(({ verdict, what, detail }) => [verdict, what, detail]),
      ),
    )
  if (findings.some(({ verdict, what }) => verdict === 'fail' && what === confFinding)) return 2
  return ok ? 0 : 1
}
