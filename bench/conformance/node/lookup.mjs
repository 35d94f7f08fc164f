// Loaded before the suite's client: the network's name is an address of loopback, without DNS or /etc/hosts, and no other
// name is anything, so that nothing is asked outside of this machine.
import dns from 'node:dns'

const host = process.env.HITHER_HOST
const address = process.env.HITHER_ADDRESS

dns.lookup = function (name, options, callback) {
  if (typeof options === 'function') [options, callback] = [{}, options]
  if (name !== host) {
    const err = new Error(`${name} is asked for, and only ${host} may be`)
    err.code = 'ENOTFOUND'
    process.nextTick(callback, err)
  } else if (options?.all) {
    process.nextTick(callback, null, [{ address, family: 4 }])
  } else {
    process.nextTick(callback, null, address, 4)
  }
}
