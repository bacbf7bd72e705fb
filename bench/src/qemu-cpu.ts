/** The processor for which QEMU gets nothing that the machine lacks. */
export const QEMU_CPU = "rv64,v=off,h=off,sv57=off,zfa=off,zbc=off,zawrs=off";
