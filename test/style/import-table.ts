/**
 * Who may import whom: one row per folder of `services/`, most specific first, and one door per outside package.
 *
 * The exceptions are listed with their reasons, because an exception that is not written is how the next one comes. The
 * list may only shrink.
 */

export interface ImportRule {
  /** Folder or file below `services/`. */
  readonly of: string
  /** Folders below `services/`; the folder's own files are always allowed. */
  readonly folders: readonly string[]
  readonly packages: readonly string[]
  /** Modules of the platform: none, or all. */
  readonly platform: boolean
}

const lower = ['protocol', 'contract', 'settings', 'runtime'] as const

export const importRules: readonly ImportRule[] = [
  { of: 'protocol', folders: [], packages: [], platform: false },
  { of: 'contract', folders: ['protocol'], packages: [], platform: false },
  { of: 'settings', folders: ['protocol', 'contract'], packages: ['yaml', 'zod'], platform: false },
  {
    of: 'runtime',
    folders: ['protocol', 'contract', 'settings'],
    packages: [
      '@grpc/grpc-js',
      '@grpc/proto-loader',
      '@grpc/reflection',
      'grpc-health-check',
      'ioredis',
      'nats',
      'pino',
    ],
    platform: true,
  },
  { of: 'edge', folders: lower, packages: [], platform: false },
  { of: 'queue', folders: lower, packages: [], platform: false },
  { of: 'bounce', folders: lower, packages: [], platform: false },
  { of: 'mailbox', folders: lower, packages: [], platform: false },
  { of: 'control', folders: lower, packages: [], platform: false },
  {
    of: 'cli',
    folders: [...lower, 'control/layout', 'control/order-log', 'control/platform', 'control/receipt'],
    packages: ['commander', 'execa'],
    platform: true,
  },
]

export interface ImportException {
  readonly file: string
  readonly imports: string
  readonly reason: string
}

export const importExceptions: readonly ImportException[] = [
  { file: 'queue/main.ts', imports: 'bounce', reason: 'composition root: hands the bounce policy to the instance' },
  {
    file: 'queue/main.ts',
    imports: 'mailbox',
    reason: 'composition root: hands the Maildir transport to the instance',
  },
]

/** The only files that may import each package; `/` at the end means a folder. */
export const packageDoors: Readonly<Record<string, readonly string[]>> = {
  yaml: ['settings/yaml-document.ts'],
  zod: ['settings/conf-schema.ts', 'settings/layout-record.ts'],
  nats: ['runtime/nats-link.ts'],
  pino: ['runtime/log.ts'],
  ioredis: ['runtime/redis-shared-state.ts'],
  '@grpc/grpc-js': ['runtime/rpc-server.ts', 'runtime/rpc-client.ts'],
  '@grpc/proto-loader': ['runtime/rpc-definition.ts'],
  '@grpc/reflection': ['runtime/rpc-introspection.ts'],
  'grpc-health-check': ['runtime/rpc-introspection.ts'],
  commander: ['cli/'],
  execa: ['cli/'],
}

/** How many files may stand in each door: a folder is a door only while one file in it is the one to go through. */
export const filesPerDoor: Readonly<Record<string, number>> = {
  yaml: 1,
  zod: 2,
  pino: 1,
  ioredis: 1,
  nats: 1,
  '@grpc/grpc-js': 2,
  '@grpc/proto-loader': 1,
  '@grpc/reflection': 1,
  'grpc-health-check': 1,
  commander: 2,
  execa: 1,
}
