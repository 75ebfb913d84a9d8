#!/usr/bin/env node
/*
 * The command's first file: refuses a Node that is too old in one clear line, then hands over. In the JavaScript of Node 12,
 * so that the refusal itself can be read by the Node it refuses.
 */
const wanted = [22, 19]
const found = process.versions.node.split('.').map(Number)
const emitWarning = process.emitWarning

if (found[0] < wanted[0] || (found[0] === wanted[0] && found[1] < wanted[1])) {
  const remedy = '`npm ci` brings a newer one along: start with `npm start` or `npx qmq`'
  process.stderr.write(`qmq needs Node.js ${wanted.join('.')} or newer, this is ${process.versions.node}; ${remedy}\n`)
  process.exitCode = 2
} else {
  // Some releases announce at every start that they run TypeScript; that is no news here.
  process.emitWarning = (warning, type, ...rest) => {
    if (type !== 'ExperimentalWarning') emitWarning.call(process, warning, type, ...rest)
  }
  // Every instance is a process of its own: compiled code is kept beside the package, and each start is the cheaper for it.
  const kept = decodeURIComponent(new URL('../../node_modules/.cache/qmq', import.meta.url).pathname)
  process.env.NODE_COMPILE_CACHE = process.env.NODE_COMPILE_CACHE || kept
  const start = async () => {
    const { enableCompileCache } = await import('node:module')
    enableCompileCache(process.env.NODE_COMPILE_CACHE)
    await import('./main.ts')
  }
  start().catch((error) => {
    process.stderr.write(`${error instanceof Error ? error.stack : error}\n`)
    process.exitCode = 1
  })
}
