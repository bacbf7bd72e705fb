/* Makes a Linux process of a benchmark program: prints its checksum. */
#include <stdio.h>

#include "guest.h"

int main(void) {
  printf("%016llx\n", (unsigned long long)benchmark());
  return 0;
}
