// Where the Kubernetes API server is: a kubeconfig file, or what a pod is given.
//
// Kubeconfig: https://kubernetes.io/docs/reference/config-api/kubeconfig.v1/. What
// would change who we are or how we connect and is not supported (exec,
// auth-provider, username, as, proxy-url...) is refused by name, never ignored.
#ifndef EXPORTER_KUBECONFIG_H_
#define EXPORTER_KUBECONFIG_H_

#include <string>
#include <string_view>

#include "dt/result.h"
#include "exporter/sinks/kubernetes/api_access.h"

namespace exporter {

// The context called `context` ("": the file's current-context) in `text`, which
// stands in `file`: relative paths in it count from that file's folder. Errors
// are kMalformed: "FILE:LINE:COLUMN: what stands there; what was expected", and
// quote no credential.
dt::Result<ApiAccess> ParseKubeconfig(std::string_view text, const std::string& file,
                                      const std::string& context);

// Reads `file` and parses it. kNotFound or kIo if it cannot be read.
dt::Result<ApiAccess> ReadKubeconfig(const std::string& file, const std::string& context);

// As a pod finds it: https://kubernetes.io/docs/tasks/run-application/access-api-from-pod/.
// `host` and `port` are $KUBERNETES_SERVICE_HOST and $KUBERNETES_SERVICE_PORT; token
// and ca.crt lie in `service_account`, and are named here, not read.
ApiAccess InClusterAccess(const std::string& host, const std::string& port,
                          const std::string& service_account);

// The access that the flags and the environment ask for, in this order:
// --kubeconfig (`file`), $KUBECONFIG (of whose files one may exist), a pod's service
// account (which has no contexts), ~/.kube/config. An error says what was looked for.
dt::Result<ApiAccess> FindApiAccess(const std::string& file, const std::string& context);

}  // namespace exporter

#endif  // EXPORTER_KUBECONFIG_H_
