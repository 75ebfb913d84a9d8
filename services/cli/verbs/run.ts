/**
 * `qmq run ID`: one instance in the foreground, for supervisors of the administrator's choice (daemontools, systemd).
 *
 * Where the system can, this process becomes the instance: a supervisor then signals it without anybody between, and sees
 * its own exit code. The state is touched only with `--prepare`, and never under a running `qmq up`.
 */

import { homeOwner, lockHome } from '../../runtime/home-lock.ts'
import { ClusterClient } from '../cluster-client.ts'
import { planState, readConfFile, writeState } from '../prepare-state.ts'
import { becomeProgram } from '../program-runner.ts'
import { tierProgram } from '../software.ts'
import type { Context, ExitCode, Input, Verb } from '../verb.ts'

export const runVerb: Verb = {
  name: 'run',
  summary: 'run one instance in the foreground, without the others',
  arguments: '<id>',
  options: [['--prepare', 'first bring the state directory up to conf-qmq, as `qmq up` does']],
  lasting: true,
  run,
}

async function run(context: Context, input: Input): Promise<ExitCode> {
  const [id = ''] = input.words
  if (input.options['prepare'] === true) {
    const exit = await prepare(context)
    if (exit !== 0) return exit
  }
  const client = await ClusterClient.open(context)
  client.close()
  const place = client.places.find((candidate) => candidate.id === id)
  if (place === undefined) {
    const known = client.places.map((candidate) => candidate.id).join(' ')
    context.complain(`the layout has no instance ${id}; it has ${known}`)
    return 2
  }
  const owner = homeOwner(place.home)
  if (owner !== undefined) {
    context.complain(`${id} is already running, as process ${owner}`)
    return 1
  }
  const code = await becomeProgram(tierProgram({ tier: place.tier, id, state: context.state }, 'run'))
  return code === 0 ? 0 : 1
}

async function prepare(context: Context): Promise<ExitCode> {
  const file = readConfFile(context.confFile)
  if (file.kind === 'wrong') {
    for (const problem of file.problems) context.complain(problem)
    return 2
  }
  await context.world.disk.makeDirectory(context.state)
  const lock = lockHome(context.state)
  if (lock.kind === 'taken') {
    context.complain(`not prepared: process ${lock.pid} runs or prepares a cluster on ${context.state}`)
    return 1
  }
  try {
    await writeState(context, await planState(context, file.conf))
    return 0
  } finally {
    lock.release()
  }
}
