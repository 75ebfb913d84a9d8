/**
 * The program of one control process: contends for the lead, carries plans out while it has it, answers operators.
 *
 * Nothing of mail depends on it. Where the cluster's key cannot be used it runs all the same, refuses, and says why.
 */

import type { Json } from '../contract/coordination.ts'
import type { InstanceState } from '../contract/operations.ts'
import { errorText } from '../protocol/failure.ts'
import { openSigner, openVerifier } from '../runtime/signature.ts'
import { layoutKeys } from '../runtime/signed-layout.ts'
import { readTierArguments } from '../runtime/tier-arguments.ts'
import { asJson, runTierProcess, type Tier, type TierSurroundings } from '../runtime/tier-process.ts'
import { type Api, startApi } from './api/api-server.ts'
import { ControlPort } from './api/control-port.ts'
import { ClusterControl } from './cluster-control.ts'
import type { ReceiptName } from './receipt/receipt-store.ts'

type ControlState = ReturnType<Tier['state']>

const idle: InstanceState['load'] = { queued: 0, inFlight: 0, acceptedPerSecond: 0, oldestAgeMs: 0 }

async function build(surroundings: TierSurroundings, id: string, state: string): Promise<Tier> {
  const { world, coordination, home, announce, layout } = surroundings
  let inForce = layout
  let control: ClusterControl | undefined
  let api: Api | undefined
  let port: ControlPort | undefined
  let why: string | undefined
  let isStarted = false
  return {
    start: async () => {
      try {
        const [signer, verifier] = [await openSigner(world.disk, state), await openVerifier(world.disk, state)]
        const holder = `${id}/${process.pid}`
        const keys = () =>
          layoutKeys(world.disk, state, home, (trouble) => world.log.error('key passed over', { trouble }))
        const signing = { signer, verifier, layoutKeys: keys, inForce: () => inForce }
        control = new ClusterControl({ world, coordination, id, holder, home, ...signing, onProgress: announce })
        control.start()
        api = await startApi({ plane: control, world: { ...world, cluster: layout.cluster }, home })
        port = new ControlPort({ ...surroundings, api, id, state })
        await port.start()
      } catch (error) {
        why = errorText(error)
        world.log.error('no orders are taken', { why })
      }
      isStarted = true
    },
    stop: async () => {
      port?.stop()
      await api?.close()
      await control?.stop()
    },
    apply: (next) => {
      inForce = next
    },
    state: (): ControlState => {
      const trouble = why ?? port?.trouble
      return {
        ...{ phase: trouble === undefined ? (isStarted ? 'ready' : 'starting') : 'refusing', load: idle },
        listeners: api?.address === undefined ? [] : [{ kind: 'grpc', ...api.address }],
        ...(trouble === undefined ? {} : { why: trouble }),
        ...(control === undefined ? {} : { control: control.progress() }),
      }
    },
    operations: {
      receipt: async (value) => {
        const name = receiptNameIn(value)
        if (control === undefined || name === undefined) throw new Error('there is no such receipt here')
        return asJson((await control.ownReceipt(name)) ?? {})
      },
    },
  }
}

function receiptNameIn(value: Json): ReceiptName | undefined {
  if (typeof value !== 'object' || value === null || !('plan' in value) || !('instance' in value)) return undefined
  return { plan: String(value['plan']), instance: String(value['instance']) }
}

const read = readTierArguments(process.argv.slice(2))
if (read.kind === 'unusable' || read.verb !== 'run') {
  const why = read.kind === 'unusable' ? read.why : `no verb ${read.verb}: run`
  process.stderr.write(`${why}\n`, () => process.exit(2))
} else {
  const { id, state } = read
  await runTierProcess({
    ...{ tier: 'control', id, state },
    build: (surroundings) => build(surroundings, id, state),
    exit: (code) => process.exit(code),
  })
}
