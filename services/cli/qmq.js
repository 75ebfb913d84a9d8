#!/usr/bin/env node
/*
 * The command's first file: refuses a Node that is too old in one clear line, then hands over. Plain, old JavaScript, so
 * that the refusal itself can be read by the Node it refuses.
 */
var wanted = [22, 19]
var found = process.versions.node.split('.').map(Number)
if (found[0] < wanted[0] || (found[0] === wanted[0] && found[1] < wanted[1])) {
  process.stderr.write(
    'qmq needs Node.js ' + wanted.join('.') + ' or newer; this is ' + process.versions.node +
      ' (`npm ci` fetches a newer one: start with `npx qmq` or `npm start`)\n',
  )
  process.exitCode = 2
} else {
  // Some releases announce at every start that they run TypeScript; that is no news here.
  var emitWarning = process.emitWarning
  process.emitWarning = function (warning, type) {
    if (type !== 'ExperimentalWarning') emitWarning.apply(process, arguments)
  }
  import('./main.ts').catch(function (error) {
    process.stderr.write((error && error.stack ? error.stack : String(error)) + '\n')
    process.exitCode = 1
  })
}
