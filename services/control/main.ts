/**
 * The program of one control process: contends for the lead, carries plans out while it has it, answers operators.
 *
 * Nothing of mail depends on it. Where the cluster's key cannot be used it runs all the same, refuses, and says why.
 */

import type { Json } from '../contract/coordination.ts'
import { tierIdentity } from '../contract/identity.ts'
import type { InstanceState } from '../contract/operations.ts'
import { errorText } from '../protocol/failure.ts'
import { readFileIfThere } from '../runtime/durable-file.ts'
import { openSigner, openVerifier } from '../runtime/signature.ts'
import { layoutKeys } from '../runtime/signed-layout.ts'
import { readTierArguments } from '../runtime/tier-arguments.ts'
import { credentialsDirectory, credentialsPollMs, TierCredentials } from '../runtime/tier-credentials.ts'
import { asJson, runTierProcess, type Tier, type TierSurroundings } from '../runtime/tier-process.ts'
import type { Timer } from '../runtime/world.ts'
import { type Api, type ApiPort, startApi } from './api/api-server.ts'
import { ClusterControl } from './cluster-control.ts'
import type { ReceiptName } from './receipt/receipt-store.ts'

type ControlState = ReturnType<Tier['state']>

const idle: InstanceState['load'] = { queued: 0, inFlight: 0, acceptedPerSecond: 0, oldestAgeMs: 0 }

async function build(surroundings: TierSurroundings, id: string, state: string): Promise<Tier> {
  const { world, coordination, home, announce, layout } = surroundings
  let inForce = layout
  let control: ClusterControl | undefined
  let api: Api | undefined
  let credentials: TierCredentials | undefined
  let why: string | undefined
  let phase: InstanceState['phase'] = 'starting'
  let laterLook: Timer | undefined
  const failed = (error: unknown) => {
    why = errorText(error)
    phase = 'refusing'
    world.log.error('no orders are taken', { why })
  }
  const openPort = async () => {
    credentials = await openCredentials(surroundings, id, state)
    const port = portOf(surroundings, id, credentials)
    if (port !== undefined) await api?.openPort(port)
    else laterLook = world.clock.after(credentialsPollMs, () => openPort().catch(failed))
  }
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
        await openPort()
        phase = 'ready'
      } catch (error) {
        failed(error)
      }
    },
    stop: async () => {
      laterLook?.cancel()
      await api?.close()
      await control?.stop()
      credentials?.close()
    },
    apply: (next) => {
      inForce = next
    },
    state: (): ControlState => ({
      ...{ phase, load: idle },
      listeners: api?.address === undefined ? [] : [{ kind: 'grpc', ...api.address }],
      ...(why === undefined ? {} : { why }),
      ...(control === undefined ? {} : { control: control.progress() }),
    }),
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

/** Watched from now on; undefined where this process has no certificate yet (`qmq ca`). */
async function openCredentials({ world, layout }: TierSurroundings, id: string, state: string) {
  const directory = credentialsDirectory(state, id)
  if ((await readFileIfThere(world.disk, `${directory}/cert.pem`)) === undefined) return undefined
  const credentials = new TierCredentials(world, directory, tierIdentity(layout.cluster, 'control', id))
  await credentials.watch()
  return credentials
}

/**
 * Nothing without credentials: nobody is believed by his address. What each may call is in his certificate. While ours cannot be used
 * nobody gets in, and once they can somebody does.
 */
function portOf({ world, layout }: TierSurroundings, id: string, credentials?: TierCredentials): ApiPort | undefined {
  const spec = layout.control.find((one) => one.id === id)
  if (spec === undefined || credentials === undefined) return undefined
  const tls = () => credentials.mutual(() => true)
  const inForce = tls()
  if (typeof inForce === 'string') world.log.error('operators elsewhere are not served', { why: inForce })
  return { host: spec.host, port: spec.port, tls }
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
