/** The program of one edge: reads its certificate, wires the edge to the system's world, and runs until it is told to stop. */

import type { Layout } from '../contract/layout.ts'
import { LayoutSharedState } from '../runtime/layout-shared-state.ts'
import { readTierArguments } from '../runtime/tier-arguments.ts'
import { runTierProcess, type Tier, type TierSurroundings } from '../runtime/tier-process.ts'
import { tlsPairProblem } from '../runtime/tls-pair.ts'
import type { TlsServerOptions, World } from '../runtime/world.ts'
import { Edge } from './edge.ts'

/** Rejects, naming the files, where they cannot be read or are no pair: an edge that should offer TLS must not start without. */
async function readTls(world: World, layout: Layout, id: string, state: string): Promise<TlsServerOptions | undefined> {
  const tls = layout.edges.find((edge) => edge.id === id)?.tls
  if (tls === undefined) return undefined
  const below = (file: string) => (file.startsWith('/') ? file : `${state}/${file}`)
  const [certificateFile, keyFile] = [below(tls.certificateFile), below(tls.keyFile)]
  const pair = { certificate: await world.disk.readFile(certificateFile), key: await world.disk.readFile(keyFile) }
  const problem = tlsPairProblem(pair)
  if (problem !== undefined) throw new Error(`${certificateFile} and ${keyFile} are of no use for TLS: ${problem}`)
  return pair
}

async function build(surroundings: TierSurroundings, id: string, state: string): Promise<Tier> {
  const { world, layout, ledger, drills } = surroundings
  const tls = await readTls(world, layout, id, state)
  const sharedState = new LayoutSharedState(world, layout, state, drills)
  const edge = new Edge(world, layout, id, { ledger, sharedState, ...(tls === undefined ? {} : { tls }) })
  return {
    start: () => edge.start(),
    stop: () => edge.stop(),
    apply: (next) => edge.apply(next),
    state: () => {
      const { epoch: _epoch, ...state } = edge.state()
      return state
    },
    operations: {},
  }
}

const read = readTierArguments(process.argv.slice(2))
if (read.kind === 'unusable' || read.verb !== 'run') {
  const why = read.kind === 'unusable' ? read.why : `no verb ${read.verb}: run`
  process.stderr.write(`${why}\n`, () => process.exit(2))
} else {
  const { id, state } = read
  await runTierProcess({
    ...{ tier: 'edge', id, state },
    build: (surroundings) => build(surroundings, id, state),
    exit: (code) => process.exit(code),
  })
}
