-- The requests of wrk: `wrk ... -s requests.lua URL -- NAMES AGENTS TARGET FIRST`. With NAMES 0, always the same GET of
-- TARGET; else a GET of a tag in each of so many repositories with each of so many User-Agents, in a mixed order, of
-- which FIRST is left out at the beginning, so that two loads do not send the same at the same time. A fifth argument
-- closes the connection after each request. At the end it prints a line of JSON.

local HOST = "docker.lab.test"
local ACCEPT = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, " ..
   "application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.docker.distribution.manifest.v2+json"
local PRODUCTS = {"docker/28.%d.1", "docker/27.%d.0", "containerd/2.%d.0", "buildkit/v0.%d.0", "docker/26.%d.3"}
local STEP = 7919  -- has no divisor in common with the numbers of names, so that all of them come

local heads, tails, number = {}, {}, 0
local names, agents

function init(arguments)
   local target, close = arguments[3], arguments[5] and "Connection: close\r\n" or ""
   names, agents = tonumber(arguments[1]), tonumber(arguments[2])
   number = tonumber(arguments[4] or 0)
   for index = 0, agents - 1 do
      local agent = PRODUCTS[index % #PRODUCTS + 1]:format(math.floor(index / #PRODUCTS))
      tails[index] = " HTTP/1.1\r\nHost: " .. HOST .. "\r\nUser-Agent: " .. agent .. "\r\nAccept: " .. ACCEPT ..
         "\r\nAccept-Encoding: gzip\r\n" .. close .. "\r\n"
   end
   for index = 0, names - 1 do
      heads[index] = ("GET /v2/org/name-%05d/manifests/latest"):format(index * STEP % names)
   end
   if names == 0 then
      local same = "GET " .. target .. tails[0]
      request = function() return same end
   end
end

function request()
   number = number + 1
   return heads[number % names] .. tails[(number + math.floor(number / names)) % agents]
end

function done(summary)
   local errors = summary.errors
   io.write(("{\"requests\": %d, \"microseconds\": %d, \"failed\": %d}\n"):format(summary.requests, summary.duration,
      errors.connect + errors.read + errors.write + errors.status + errors.timeout))
end
