/* A CUDA driver and run-time compiler that do nothing but answer as the environment says, for tests/device.rs:
   FAKE_DRIVER   version of the driver, 12040 for CUDA 12.4
   FAKE_GPUS     how many GPUs there are
   FAKE_GPU      their compute capability, 90 for 9.0
   FAKE_FAIL     a function and the code it fails with, as in cuInit=999
   FAKE_HANG     a function that never returns
   FAKE_NAMELESS set: the driver knows no names of errors
   Contexts that are retained and not released are counted on standard error when the process ends. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int retained;

static int number(const char *variable, int otherwise) {
    const char *text = getenv(variable);
    return text ? atoi(text) : otherwise;
}

static int outcome(const char *function) {
    const char *hang = getenv("FAKE_HANG"), *fail = getenv("FAKE_FAIL");
    while (hang && strcmp(hang, function) == 0) pause();
    size_t length = strlen(function);
    return fail && strncmp(fail, function, length) == 0 && fail[length] == '=' ? atoi(fail + length + 1) : 0;
}

__attribute__((destructor)) static void count(void) {
    if (getenv("FAKE_COUNT")) fprintf(stderr, "retained: %d\n", retained);
}

int cuDriverGetVersion(int *version) { *version = number("FAKE_DRIVER", 12040); return outcome(__func__); }
int cuInit(unsigned flags) { (void)flags; return outcome(__func__); }
int cuDeviceGetCount(int *count) { *count = number("FAKE_GPUS", 1); return outcome(__func__); }
int cuDeviceGet(int *device, int index) { *device = 40 + index; return outcome(__func__); }
int cuDeviceGetName(char *name, int length, int device) {
    snprintf(name, length, "Fake GPU %c", 'A' + device - 40);
    return outcome(__func__);
}
int cuDeviceGetAttribute(int *value, int attribute, int device) {
    (void)device;
    int capability = number("FAKE_GPU", 90);
    *value = attribute == 75 ? capability / 10 : attribute == 76 ? capability % 10 : -1;
    return outcome(__func__);
}
int cuDevicePrimaryCtxRetain(void **context, int device) {
    (void)device;
    int code = outcome(__func__);
    *context = &retained;
    if (code == 0) retained++;
    return code;
}
int cuDevicePrimaryCtxRelease_v2(int device) { (void)device; retained--; return outcome(__func__); }
int cuCtxPushCurrent_v2(void *context) { (void)context; return outcome(__func__); }
int cuCtxPopCurrent_v2(void **context) { *context = &retained; return outcome(__func__); }
int cuMemGetInfo_v2(size_t *available, size_t *total) {
    *available = (size_t)3 << 29; /* 1.5 GiB */
    *total = (size_t)16 << 30;
    return outcome(__func__);
}
int cuModuleLoadData(void **module, const void *image) {
    *module = &retained;
    return strcmp(image, "// fake PTX") == 0 ? outcome(__func__) : 218;
}
int cuModuleUnload(void *module) { (void)module; return outcome(__func__); }
int cuGetErrorName(int code, const char **name) {
    *name = code == 803 ? "CUDA_ERROR_SYSTEM_DRIVER_MISMATCH" : "CUDA_ERROR_FAKE";
    return getenv("FAKE_NAMELESS") ? 1 : 0;
}
int cuGetErrorString(int code, const char **text) {
    (void)code;
    *text = "in the driver's words";
    return getenv("FAKE_NAMELESS") ? 1 : 0;
}

int nvrtcVersion(int *major, int *minor) { *major = 12, *minor = 4; return outcome(__func__); }
int nvrtcGetNumSupportedArchs(int *count) { *count = 3; return outcome(__func__); }
int nvrtcGetSupportedArchs(int *archs) { archs[0] = 50, archs[1] = 80, archs[2] = 90; return outcome(__func__); }
int nvrtcCreateProgram(void **program, const char *source, const char *name, int headers, const char *const *texts,
                       const char *const *names) {
    (void)name, (void)headers, (void)texts, (void)names;
    *program = &retained;
    return strstr(source, "#include <cuda_runtime.h>") ? outcome(__func__) : 1;
}
int nvrtcCompileProgram(void *program, int count, const char *const *options) {
    (void)program;
    char expected[64];
    int capability = number("FAKE_GPU", 90);
    snprintf(expected, sizeof expected, "--gpu-architecture=sm_%d%s", capability, capability >= 90 ? "a" : "");
    if (count != 4 || strcmp(options[0], expected) || strncmp(options[1], "--include-path=/", 16)) return 5;
    return outcome(__func__);
}
static const char LOG[] = "\n  fake error: no builtins\nand more";
int nvrtcGetProgramLogSize(void *program, size_t *size) { (void)program; *size = sizeof LOG; return outcome(__func__); }
int nvrtcGetProgramLog(void *program, char *log) {
    (void)program;
    memcpy(log, LOG, sizeof LOG);
    return outcome(__func__);
}
static const char PTX[] = "// fake PTX";
int nvrtcGetPTXSize(void *program, size_t *size) { (void)program; *size = sizeof PTX; return outcome(__func__); }
int nvrtcGetPTX(void *program, char *ptx) { (void)program; memcpy(ptx, PTX, sizeof PTX); return outcome(__func__); }
int nvrtcDestroyProgram(void **program) { *program = NULL; return outcome(__func__); }
