// Tells which cases the suite in the folder of the first argument has, as one JSON object.
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'

const suite = process.argv[2]
let undici = true
try {
  createRequire(join(suite, 'test-engine', 'client', 'test.mjs')).resolve('undici')
} catch {
  undici = false
}
const { default: groups } = await import(pathToFileURL(join(suite, 'tests', 'index.mjs')))
process.stdout.write(JSON.stringify({ node: process.versions.node, undici, groups }))
