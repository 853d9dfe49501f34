//! File forms that are read strictly or leniently.

/// Declares the structs of a file form twice, in the modules `strict` (unknown fields are refused)
/// and `lenient` (passed over); `items` holds what works on them and is the same in both.
macro_rules! forms {
    (
        uses { $($uses:item)* }
        structs { $($visibility:vis struct $name:ident { $($fields:tt)* })* }
        items { $($items:item)* }
    ) => {
        mod strict {
            $($uses)*
            $(
                #[derive(serde::Deserialize)]
                #[serde(deny_unknown_fields)]
                $visibility struct $name { $($fields)* }
            )*
            $($items)*
        }

        mod lenient {
            $($uses)*
            $(
                #[derive(serde::Deserialize)]
                $visibility struct $name { $($fields)* }
            )*
            $($items)*
        }
    };
}

pub(crate) use forms;
