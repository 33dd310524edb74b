// The program of dynamic-reverse-proxy 0.6.0's own README: node original.js PORT ORIGIN ROUTES
const http = require("http");
const proxy = require("dynamic-reverse-proxy")();

const [port, origin, routes] = process.argv.slice(2).map(Number);
proxy.registerRoute({ prefix: "/", port: origin });
for (let number = 0; number < routes; number++) {
  proxy.registerRoute({ prefix: `/user/${String(number).padStart(7, "0")}`, port: origin });
}

const server = http.createServer((request, response) => {
  if (request.url === "/register") proxy.registerRouteRequest(request, response);
  else proxy.proxyRequest(request, response);
});
server.keepAliveTimeout = 600000;
server.listen(port, "127.0.0.1");
