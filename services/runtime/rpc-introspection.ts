/**
 * The door to reflection and health checking: what a gRPC server says of itself by the protocols every client knows.
 *
 * Health is told for each service by its full name, and for the server as a whole under ''. Both are services like any other: whoever
 * may not call them is not told.
 */

import { ReflectionService } from '@grpc/reflection'
import { HealthImplementation, service as healthService, protoPath } from 'grpc-health-check'
import { describeFiles, serviceNames } from './rpc-definition.ts'

interface ServiceTaker {
  // biome-ignore lint/suspicious/noExplicitAny: the packages' own types of a server do not agree with one another.
  addService(service: any, implementation: any): void
}

/** The methods these two add to a server. */
export const introspectionMethods: readonly string[] = [
  ...Object.values(healthService).map(({ path }) => path),
  '/grpc.reflection.v1.ServerReflection/ServerReflectionInfo',
  '/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo',
]

/** Of the services of these files, and of health. */
export function addReflection(server: ServiceTaker, files: readonly string[]): void {
  const definition = describeFiles([...files, protoPath])
  new ReflectionService(definition, { services: [...serviceNames(definition)] }).addToServer(server)
}

export class RpcHealth {
  readonly #implementation = new HealthImplementation()
  readonly #serving = new Map<string, boolean>()

  addTo(server: ServiceTaker): void {
    this.#implementation.addToServer(server)
  }

  tell(service: string, serving: boolean): void {
    if (this.#serving.get(service) === serving) return
    this.#serving.set(service, serving)
    this.#implementation.setStatus(service, serving ? 'SERVING' : 'NOT_SERVING')
  }
}
