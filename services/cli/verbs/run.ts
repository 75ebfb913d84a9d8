/** `qmq run ID`: one instance in the foreground, for supervisors of the administrator's choice (daemontools, systemd). */

import process from 'node:process'
import { ClusterClient } from '../cluster-client.ts'
import { prepareState, readConfFile } from '../prepare-state.ts'
import { runInForeground } from '../program-runner.ts'
import { tierProgram } from '../software.ts'
import { type Context, type ExitCode, type Input, textOption, type Verb } from '../verb.ts'

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
  if (input.options['prepare'] === true || textOption(input, 'conf') !== undefined) {
    const file = readConfFile(context.confFile)
    if (file.kind === 'wrong') {
      for (const problem of file.problems) context.complain(problem)
      return 2
    }
    await prepareState(context, file.conf)
  }
  const client = await ClusterClient.open(context)
  const place = client.places.find((candidate) => candidate.id === id)
  client.close()
  if (place === undefined) {
    const known = client.places.map((candidate) => candidate.id).join(' ')
    context.complain(`the layout has no instance ${id}; it has ${known}`)
    return 2
  }
  const program = [tierProgram(place.tier), 'run', '--state', context.state, '--id', id]
  const code = await runInForeground(process.execPath, ['--disable-warning=ExperimentalWarning', ...program])
  return code === 0 ? 0 : 1
}
