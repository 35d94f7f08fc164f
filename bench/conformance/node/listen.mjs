// Loaded before the suite's origin, which would listen on every address of the machine: it gets one of loopback and a free port,
// and says which.
import net from 'node:net'

const host = process.env.HITHER_LISTEN
const listen = net.Server.prototype.listen

net.Server.prototype.listen = function (...args) {
  const done = args.findLast(arg => typeof arg === 'function')
  this.once('listening', () => {
    const { address, port } = this.address()
    process.stdout.write(`hither-origin http://${address}:${port}\n`)
  })
  return listen.call(this, { host, port: 0 }, done)
}
