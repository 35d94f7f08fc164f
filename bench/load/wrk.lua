-- What `bench` has wrk ask for: the paths of a file, one after another, or one path with a query that is never the same. At its end
-- it says in one line what it counted. Its settings are in the environment, as wrk looks for the server before it hands on arguments.

local function setting(name)
   local value = os.getenv(name)
   if not value then error(name .. " is not set") end
   return value
end

-- The server is at this address, whatever the URL says: the URL's name is for TLS and Host.
function wrk.resolve(_, service)
   wrk.addrs = wrk.lookup(setting("BENCH_ADDRESS"), service)
end

function init()
   local unique = os.getenv("BENCH_UNIQUE")
   local requests, n, i = {}, 0, 0
   for path in io.lines(setting("BENCH_PATHS")) do
      n = n + 1
      requests[n] = wrk.format("GET", path)
   end
   if unique then
      local mark = "?u=MARK"
      for k = 1, n do
         local path = requests[k]:match("^GET (%S+)")
         local whole = wrk.format("GET", path .. mark)
         local at = whole:find(mark, 1, true)
         requests[k] = { whole:sub(1, at + 2) .. unique .. "-", whole:sub(at + #mark) }
      end
      function request()
         i = i + 1
         local r = requests[(i - 1) % n + 1]
         return r[1] .. i .. r[2]
      end
      return
   end
   function request()
      i = i % n + 1
      return requests[i]
   end
end

function done(summary, latency)
   local e = summary.errors
   io.write(string.format(
      "bench-wrk/1 requests=%d duration_us=%d bytes=%d connect=%d read=%d write=%d status=%d timeout=%d p50_us=%d p99_us=%d p999_us=%d max_us=%d end\n",
      summary.requests, summary.duration, summary.bytes, e.connect, e.read, e.write, e.status, e.timeout,
      latency:percentile(50), latency:percentile(99), latency:percentile(99.9), latency.max))
end
